"""How each command is called: its options and its help. What it does lies in ``cli`` beside it.

These modules are imported by every call, so they import nothing but what declares options.
"""
