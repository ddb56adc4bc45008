{#- Trino: what an earlier try staged goes. The first statement of a try: rendering it takes the lease. -#}
{%- set run = run_state(ti) -%}
{%- set audited = ti.xcom_pull(task_ids=params.audited_by) -%}
/* {{ tag(ti) }} */
drop table if exists postgres_gold.staging.{{ params.table.name }}_{{ audited.staging }}
