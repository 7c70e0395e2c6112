"""Dispatch: launchers start jobs that claim and execute runs. They know no torch and no tracker but the run folders."""

from slws_lab.launch.feed import Feed
from slws_lab.launch.in_process import InProcess
from slws_lab.launch.launcher import Job, Launcher, LaunchError, Work
from slws_lab.launch.local import Local
from slws_lab.launch.ray import Ray
from slws_lab.launch.slurm import Slurm

LAUNCHERS = ("local", "in_process", "slurm", "ray")

__all__ = ["LAUNCHERS", "Feed", "InProcess", "Job", "LaunchError", "Launcher", "Local", "Ray", "Slurm", "Work"]
