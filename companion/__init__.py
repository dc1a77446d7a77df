"""What the chapters show: figures, claims, statistics and questions. Its numbers come from dmftlib."""
