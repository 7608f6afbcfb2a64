"""The quickstart: a small CNN on Fashion-MNIST, as a user's own code would stand."""
