"""Programs that are run as processes: vLLM's server and HAProxy; how they are kept and watched."""
