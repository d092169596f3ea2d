"""The benchmark, `./run bench`: what requests cost, against floors measured in the same run."""
