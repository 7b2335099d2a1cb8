"""The commands that the plugin adds to the `timelapse` program, one file each."""
