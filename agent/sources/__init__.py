"""Sources of observations that the agent brings along: a folder of images, and a camera."""
