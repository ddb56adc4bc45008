-- Tests the changelogs that the run captured for silver. By hand and in the daily reconciliation it tests all.
{{ config(enabled=target.type == 'trino') }}
{{ all_broken_promises(tested_models('changelog', 'stg_') if execute and flags.WHICH in ['build', 'test'] else [], changelog_promises) }}
