"""Scores of single images: each is decoded once (`Images`) and handed to all scorers that read
`pixels`.
"""
