"""The product's code in Airflow. Modules import only from folders to their right in this line:

tasks → publish, maintenance → run → store → engines, project → settings, names
"""
