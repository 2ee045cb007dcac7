"""The pages: plain ES modules in ``static``, served as they are (``pages``)."""
