"""What is trained and measured: a task joins the networks, the losses and the views."""
