"""These modules run the runs of a table as jobs of Slurm, through submitit."""
