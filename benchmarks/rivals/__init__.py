"""Other mail clients on the same mails: fetching, configuring and running them."""
