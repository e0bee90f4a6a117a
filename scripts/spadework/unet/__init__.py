"""U-Net: data to train on, network, training, inference and scores."""
