"""Pretrained backbones that come inside packages: ``model.init: package:NAME`` starts a network from one of them.

Each has a file here that says which package, version and file hold it, with hash and licence, and what it was trained
on. ``packages.py`` finds the file, checks it, and puts its weights into a network. The packages are the extra
``backbones``; none of their code is ever run.
"""
