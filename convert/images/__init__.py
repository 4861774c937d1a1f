"""Folders of images, and how their pixels become a network's input."""
