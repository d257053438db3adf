"""What is looked at before damd runs, and by who asks how it fares."""
