"""Scores of an image with its text: inside `coreset.scorers.image.Images`, which hands over
`pixels`.
"""
