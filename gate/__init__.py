"""Gate: artifact -> verdict and report. numpy, scipy and the runtimes; no torch; starts fast.

From the bottom up:

- `statistics`: intervals and spending, small and tested against published tables
- `measure`: one launch and one evaluation on one machine; the worker process and its runtimes
- `devices`: where artifacts are weighed: this machine, behind SSH, a harness of the user's
- `verdict`: pure: measurement + budgets -> verdict; policy and waivers
- `weighing`: launch after launch until no budget is open, and the measurement that comes of it
- `report`: markdown, HTML and plots, as functions that return strings or figures
- `calibrate`: what this machine can resolve, by models of known cost
- `stages`: what the command line and DVC run: device, weigh, judge; the stand-alone gate for two files
"""
