"""Model versions as files, and the promotion of a challenger on evidence."""
