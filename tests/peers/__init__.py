"""Push providers and a mail server on this machine, as faithful as their documents let them be.

Each runs in a thread, checks what it is sent as the real one would, counts what it took by key, and
can be told what to say next.
"""
