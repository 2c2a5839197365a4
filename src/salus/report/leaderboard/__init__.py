"""Finished audits ranked side by side, from their stored results alone."""

from salus.report.leaderboard.audits import read_audits
from salus.report.leaderboard.board import Leaderboard, compare
from salus.report.leaderboard.csv_file import write_csv
from salus.report.leaderboard.index import rank_fleet, write_index
from salus.report.leaderboard.page import write_leaderboard

__all__ = ["Leaderboard", "compare", "rank_fleet", "read_audits", "write_csv", "write_index", "write_leaderboard"]
