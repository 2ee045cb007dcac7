"""What each command of ``holdfast`` does: a module with ``add_arguments`` and ``run`` for each.

A command is imported when it is asked for, so that none pays for what another needs.
"""
