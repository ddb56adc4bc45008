"""The project's own entities: each module here declares some, in a sequence named ENTITIES."""
