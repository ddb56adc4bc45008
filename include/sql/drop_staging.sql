{#- Trino: what an earlier try staged goes. The first statement of a try: rendering it takes the lease. -#}
{%- set run = run_state(ti) -%}
/* {{ tag(ti) }} */
drop table if exists postgres_gold.staging.{{ table.name }}_{{ audited.staging }}
