{#- Materialization `spark_job`: the table is written by a Spark job; dbt documents and tests it. -#}
{% materialization spark_job, default %}
    {% call statement('main') %}select 1 from {{ this }} limit 1{% endcall %}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}
