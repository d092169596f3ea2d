"""The benchmark, `./run bench`: what requests cost, as ratios to floors measured in the same run."""
