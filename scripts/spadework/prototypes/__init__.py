"""ProtoPNet: which patches of the image make a class of spots what it is."""
