"""Pools of pictures and how to search them: a local index, a folder of clip-retrieval, a retrieval server.

Not a plugin: the generators that retrieve share it, and ``bench index`` builds what it opens.
"""
