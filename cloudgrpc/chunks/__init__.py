"""Where bytes live: one interface, several stores that compose."""
