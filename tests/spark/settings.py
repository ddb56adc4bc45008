"""Settings of the tests' Spark sessions."""

# For some rows a query, generating and compiling code takes twice as long as interpreting.
INTERPRETED = {"spark.sql.codegen.wholeStage": False, "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
