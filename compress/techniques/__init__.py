"""One technique each: config class and function side by side."""
