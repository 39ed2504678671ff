"""Pretrained trunks that come inside packages: ``model.init: package:NAME`` starts a network from one of them.

One file a trunk says which package, version and file, with what hash and licence, and what it was trained on;
``packages.py`` finds the file, checks it, and puts its weights into a network. The packages are the extra ``trunks``;
none of their code is ever run.
"""
