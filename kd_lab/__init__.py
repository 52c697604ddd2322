"""kd-lab: train a teacher, distil it into a small student, and measure what the student gained."""

__version__ = "0.1.0"
