"""What differs between the families of image-text-to-text models: one file each."""
