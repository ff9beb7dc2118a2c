"""medssl: self-supervised learning on medical images, from an archive to an honest report."""

__version__ = "0.1.0"
