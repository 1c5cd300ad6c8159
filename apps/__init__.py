"""The edges: the only code that imports ryu, eventlet and webob."""
