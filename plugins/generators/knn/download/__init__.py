"""The one door to the network: what a retrieval server answers, and the pictures that strangers link to.

Stands alone: nothing here knows of pools or pictures, and :class:`Downloader` is all that others use.
"""

from .downloader import Downloader, RequestError

__all__ = ["Downloader", "RequestError"]
