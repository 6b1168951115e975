"""Vectors of our own, each written by the module of the same name: `python -m tests.vectors.own.NAME`."""
