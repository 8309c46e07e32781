"""Panels for JupyterLab: choose, and see at once. Run without a front end, each is a plain figure and a table.

One file per explorer, and :mod:`panel <rtmdet_lab.notebook.panels.panel>` with what they share.
"""
