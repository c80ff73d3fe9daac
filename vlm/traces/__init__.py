"""What unlearning leaves in the weights and under other forms of the question."""
