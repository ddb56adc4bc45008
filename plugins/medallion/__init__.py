"""The product's Airflow side. Imports run down only.

tasks → publish, maintenance → run → store → engines, project → settings, names
"""
