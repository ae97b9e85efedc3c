"""Training: from a recipe to a net, its moving average and its history."""
