"""How things are made: one package a stage; pure modules under one thin Prefect task module."""
