"""Tests; the folders mirror the packages. Shared pieces are named for what they do."""
