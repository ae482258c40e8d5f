"""Training of taggers on unlabelled data; needs the 'train' extra."""
