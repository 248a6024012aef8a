"""What any process needs: devices, processes, files, a workdir, progress, the command line."""
