"""Margin models of the field: one kernel (`kernel`), a parameter set and a short list of add-ons each.

`catalog.requirement(book, name)` margins a book by any of them. docs/models.md shows them side by side.
"""
