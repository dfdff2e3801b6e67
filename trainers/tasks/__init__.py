"""What is trained: classification, detection, segmentation; models and what is measured of them."""
