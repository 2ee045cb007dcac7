"""Sessions: what one connected shopper may do.

``limits``   how often (pure)
``machine``  the session as a machine: frames in, effects out (pure)
``session``  performs what the machine asks for
"""
